from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    operations = [
        migrations.CreateModel(
            "Account",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("name", models.CharField(max_length=20)),
                ("amount", models.IntegerField(default=0)),
            ],
        ),
        migrations.CreateModel(
            "Note",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("account", models.ForeignKey("shop.Account", models.CASCADE)),
                ("writer", models.CharField(max_length=20)),
            ],
        ),
    ]
